"""Whether there is an NVIDIA GPU, told without asking it: what looks costs next to nothing."""

import os
import shutil

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
