"""What somebody has to mend in the studies folder, as sentences: ``problems`` of ``GET /info/``."""

from __future__ import annotations

from collections.abc import Mapping

from monai_fpt.monailabel.contents import file_state
from monai_fpt.monailabel.datastore import FINAL, FPTDatastore

__all__ = ["study_problems"]


def study_problems(datastore: FPTDatastore, failed: Mapping[str, tuple[tuple[int, ...], str]]) -> list[str]:
    """Sentences, none when all is well. Of labels what their last listing found is told, as ``status`` makes one; each would look through
    thousands of files again.

    Args:
        datastore: the app's.
        failed: images that could not be read, as :meth:`~monai_fpt.monailabel.features.StudyFeatures.failed` has them.
    """
    found = [_empty(datastore), _unreadable(datastore, failed), _strays(datastore)]
    return [*datastore.images.problems.values(), *(problem for problem in found if problem)]


def _empty(datastore: FPTDatastore) -> str:
    if datastore.list_images():
        return ""
    return f'There is no image in the studies folder "{datastore.studies}"; check --studies, or put some there.'


def _unreadable(datastore: FPTDatastore, failed: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    there = {
        image_id: reason
        for image_id, (state, reason) in sorted(failed.items())
        if state and file_state(datastore.get_image_uri(image_id)) == state
    }
    if not there:
        return ""
    first, reason = next(iter(there.items()))
    told = "1 image is" if len(there) == 1 else f"{len(there)} images are"
    return f"{told} not served and not trained on, for want of reading; {first!r}: {reason} The log names every one."


def _strays(datastore: FPTDatastore) -> str:
    strays = datastore.stray_labels()
    if not strays:
        return ""
    first = min(strays)
    told = "1 final label belongs" if len(strays) == 1 else f"{len(strays)} final labels belong"
    return (
        f"{told} to no image; the first is {first!r}: {strays[first]}. Where a folder was renamed, rename it in labels/{FINAL} and "
        f"labels/.info/{FINAL} too."
    )
