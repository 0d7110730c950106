"""What users do with any session, shown or not: probabilities, draws and expected rewards.

Whether an item is viewed depends on the user and the item, and on the items before it in the session: interest fades
with each one of the same category, some groups lift or spoil each other, and every item tires. The value of an item
thus depends on its place, and no score of single items ranks sessions correctly. Given the session, responses to its
items are drawn independently, so that expectations are exact.

B sessions, S items of a session, T seconds that can be told apart.
"""

import numpy as np

from jaxrec.data.sessions.labels import Chances, SessionLabels
from jaxrec.data.simulators.sessions_world import Truth, World

BLOCK = 1 << 12  # sessions that are looked at together
Drawn = dict[str, np.ndarray]


def view_logits(world: World, truth: Truth, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Logits of an effective view, float64 [B, S].

    Args:
      world, truth: the knobs, and the ground truth of `make_truth`.
      users: int [B], raw numbers.
      items: int [B, S], raw numbers, in the order of display; any number after the end of a session.
    """
    category, group = truth.category[items], truth.group[items]
    interested = truth.interest[users][:, None] == category[..., None]  # [B, S, I]
    own = truth.quality[items] + truth.taste[truth.user_group[users][:, None], group]
    own = own + (interested * truth.strength[users][:, None]).sum(-1)
    span = max(world.longest - world.shortest, 1)
    own = own - world.length_effect * (truth.length[items] - world.shortest) / span
    # A slot without an item stands behind all that hold one: what it does to its followers is of no account.
    slots = items.shape[1]
    later, earlier = np.tril_indices(slots, -1)
    effect = truth.lifts[group[:, earlier], group[:, later]] * world.memory ** (later - earlier - 1.0)
    effect -= world.repeat_effect * (category[:, earlier] == category[:, later])
    effect -= world.again_effect * (items[:, earlier] == items[:, later])  # [B, S (S - 1) / 2]
    done = np.zeros(items.shape)
    if slots > 1:
        done[:, 1:] = np.add.reduceat(effect, np.searchsorted(later, np.arange(1, slots)), axis=1)
    return world.bias + own + world.coupling * (done - world.fatigue * np.arange(slots))


def _of_responses(
    world: World, truth: Truth, users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities [B, S] of a view, and of a like and a follow of what is viewed."""
    logit = view_logits(world, truth, users, items)
    given = logit - world.bias
    like = _sigmoid(world.like_bias + truth.charm[items] + world.like_effect * given)
    return _sigmoid(logit), like, _sigmoid(world.follow_bias + truth.appeal[items] + world.follow_effect * given)


def chances(world: World, truth: Truth, users: np.ndarray, items: np.ndarray) -> Chances:
    """Probabilities of responses to items, arguments as of `view_logits`; T is the longest item's seconds + 1."""
    view, like, follow = _of_responses(world, truth, users, items)
    length, least = truth.length[items][..., None], _least(world, truth, items)[..., None]
    second = np.arange(world.longest + 1)
    chance = view[..., None]
    # A skip ends at any second before a view begins; a view goes to the end as often as there is one, and
    # else ends at any second.
    skipped = (second < least) / least
    partly = ((second >= least) & (second <= length)) / (length - least + 1)
    watched = chance * (second == length) + (1 - chance) * partly
    return Chances((1 - chance) * skipped + chance * watched, view, view * follow, view * like)


def draw(
    world: World, truth: Truth, users: np.ndarray, items: np.ndarray, valid: np.ndarray, rng: np.random.Generator
) -> Drawn:
    """Draws responses to sessions.

    Args:
      world, truth, users, items: as in `view_logits`.
      valid: bool [B, S], which slots hold an item, from the left.
      rng: of the draws.

    Returns:
      `watch_time` float32 and `view`, `like`, `follow` int8, all [B, S], 0 where there is no item.
    """
    chance, liked, followed = _of_responses(world, truth, users, items)
    luck = rng.random((5, *items.shape))
    view, like, follow = (luck[0] < chance) & valid, luck[1] < liked, luck[2] < followed
    length, least = truth.length[items], _least(world, truth, items)
    partly = least + np.floor(luck[4] * (length - least + 1))
    watched = np.where(luck[3] < chance, length, partly)
    seconds = np.where(view, watched, np.floor(luck[4] * least)) * valid
    responses = {'view': view, 'like': view & like, 'follow': view & follow}
    drawn = {name: response.astype(np.int8) for name, response in responses.items()}
    return {'watch_time': seconds.astype(np.float32), **drawn}


def true_rewards(
    world: World, truth: Truth, users: np.ndarray, items: np.ndarray, labels: SessionLabels,
    valid: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Computes the expected labels of sessions: {'swt', 'vtr', 'wtr', 'ltr': float64 [B]}.

    Args:
      world, truth, users, items: as in `view_logits`.
      labels: how labels are made.
      valid: bool [B, S], which slots hold an item, from the left; None for all.
    """
    valid = np.ones(items.shape, bool) if valid is None else valid
    parts = []
    for first in range(0, max(len(items), 1), BLOCK):
        cut = slice(first, first + BLOCK)
        known = chances(world, truth, users[cut], items[cut])
        parts.append(labels.expected(known, valid[cut]))
    return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}


def _least(world: World, truth: Truth, items: np.ndarray) -> np.ndarray:
    """int [...], seconds from which watching is an effective view."""
    return np.ceil(world.view_share * truth.length[items]).astype(np.int64)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
