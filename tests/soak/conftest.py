"""The endurance run is built from the parts of the storm."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "reconnect"))
