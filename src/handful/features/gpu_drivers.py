"""Whether there is a GPU, told without asking it: what looks costs next to nothing."""

import os
import shutil
import sys
from pathlib import Path

# Any GPU, in Linux on Windows.
_WINDOWS_GPU = "/dev/dxg"
_NVIDIA_DRIVERS = ("/dev/nvidia0", _WINDOWS_GPU, "/proc/driver/nvidia/version")


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is there and its GPUs are not hidden from this process.

    Returns:
        False where `CUDA_VISIBLE_DEVICES` names none. True does not say that the driver works.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "none"):
        return False
    return any(map(os.path.exists, _NVIDIA_DRIVERS)) or shutil.which("nvidia-smi") is not None


def may_have_intel_gpu(cards: Path = Path("/sys/class/drm")) -> bool:
    """Whether there may be graphics of Intel's, inside the processor or on a card.

    Args:
        cards: Where Linux lists what can draw.

    Returns:
        Whether one of them is Intel's, or Linux runs on Windows; True where that cannot be read,
        and on other systems, which are not looked at.
    """
    if not sys.platform.startswith("linux") or os.path.exists(_WINDOWS_GPU):
        return True
    try:
        makers = [maker.read_text().strip() for maker in cards.glob("card*/device/vendor")]
    except (OSError, UnicodeDecodeError):
        return True
    return "0x8086" in makers
