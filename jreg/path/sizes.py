"""Sizes of arrays: few of them, so that few programs are compiled."""

CAPACITIES = (
    64,
    128,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
    3072,
    *range(4096, 65537, 2048),
)  # candidates
SUPPORTS = (128, 256, 512, 768, 1024, 1536, 2048, 3072, *range(4096, 65537, 2048))
QUICK = (64, 256, 384, 512, 1024, 2048, 4096, 8192)  # members of Q
MEMBERS = (1, 2, 3, 4, 6, 8, 11, 16)  # paths that meet
CHANGED = (128, 256, 1024, 4096, 8192)  # those that change state in one block


def bucket(size: int, sizes: tuple[int, ...]) -> int:
    """The smallest of the sizes that is large enough."""
    return next(s for s in sizes if size <= s)
