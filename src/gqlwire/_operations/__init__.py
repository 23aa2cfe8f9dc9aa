"""Operations: one result, or a stream of them."""
