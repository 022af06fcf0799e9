from __future__ import annotations

from tests.disks import read_only_disk, small_disk

__all__ = ["read_only_disk", "small_disk"]
