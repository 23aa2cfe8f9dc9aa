"""gql, the incumbent."""
