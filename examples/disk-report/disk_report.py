"""A command made of one of the agent's own, which the operator grants by `commands` in agent.toml."""

from wit_world import exports
from wit_world.exports.disks import FullDisk
from wit_world.imports.guest_get_fsinfo import FilesystemInfo, guest_get_fsinfo


class Disks(exports.Disks):
    def guest_acme_full_disks(self, above: int | None) -> list[FullDisk]:
        limit = 80 if above is None else above
        # What the agent answers with an error is raised here, and goes on to the caller.
        told = [full_disk(info) for info in guest_get_fsinfo() if info.total_bytes]
        full = [disk for disk in told if disk.used_percent > limit]
        return sorted(full, key=lambda disk: disk.used_percent, reverse=True)


def full_disk(info: FilesystemInfo) -> FullDisk:
    used = info.used_bytes or 0
    percent = min(100, -(-used * 100 // info.total_bytes))
    return FullDisk(info.mountpoint, percent, size(max(0, info.total_bytes - used)))


def size(number: float) -> str:
    for unit in ["bytes", "KiB", "MiB", "GiB"]:
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"
