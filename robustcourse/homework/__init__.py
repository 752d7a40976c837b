"""From a lesson to homework: the student copy is made from the lesson itself, so that the two cannot drift apart."""

from robustcourse.homework.student import release

__all__ = ["release"]
