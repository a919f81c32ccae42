"""Whether there is a GPU, told without asking it: what looks costs next to nothing."""

import os
import shutil
import sys
from pathlib import Path

# A driver's files on Linux, and in Linux on Windows.
_DRIVERS = ("/dev/nvidia0", "/dev/dxg", "/proc/driver/nvidia/version")


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is there and its GPUs are not hidden from this process.

    Returns:
        False where `CUDA_VISIBLE_DEVICES` names none. True does not say that the driver works.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "none"):
        return False
    return any(map(os.path.exists, _DRIVERS)) or shutil.which("nvidia-smi") is not None


def may_have_intel_gpu(cards: Path = Path("/sys/class/drm")) -> bool:
    """Whether there may be graphics of Intel's, inside the processor or on a card.

    Args:
        cards: Where Linux lists what can draw.

    Returns:
        Whether one of them is Intel's, or Linux runs on Windows; True on other systems, which
        are not looked at.
    """
    if not sys.platform.startswith("linux") or os.path.exists("/dev/dxg"):
        return True
    makers = (card.read_text().strip() for card in cards.glob("card*/device/vendor"))
    return "0x8086" in makers
