"""Top-k lists from a trained model, for users of the dataset and for new ones, in external tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.utils import ModelType
from torch import Tensor
from torch.nn import functional

from recbole_lpo.core.logit_adjustment import adjust
from recbole_lpo.data.history import HistoryIndex
from recbole_lpo.data.popularity import PAD_ID
from recbole_lpo.errors import InputError, did_you_mean
from recbole_lpo.model.backbones import product_encoder
from recbole_lpo.model.content import NewItems, new_items

_BATCH = 256
_NEW_USER = 0


@dataclass(frozen=True)
class Recommendation:
    """One line of a list.

    user: external token, empty for a new user; rank from 1; group: head, tail, or new (an item added after training)
    """

    user: str
    rank: int
    item: str
    score: float
    group: str

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@torch.no_grad()
def recommend(
    loaded,
    users: Sequence[str] = (),
    items: Sequence[str] = (),
    *,
    k: int = 10,
    tail_only: bool = False,
    keep_history: bool = False,
    logit_adjust: float | None = None,
    new_items_file: str | Path | None = None,
) -> list[Recommendation]:
    """The k best-scored items of each user, best first.

    loaded        what `recbole_lpo.load` returns
    users         tokens of users of the dataset; what is next after everything they did, held-out items included
    items         the history of one new user as item tokens, oldest first (sequential models only)
    tail_only     leave head items out
    keep_history  may recommend what the user has met already
    logit_adjust  >= 0: rank by score - logit_adjust * log(training share of the item), which favours rare items;
                  None: as the run was measured (its `eval_logit_adjust`)
    new_items_file  items that were added after training, in the form of the dataset's `.item` file: they are ranked
                  with the others, from their content alone (models with content, see `content_mode`)
    Raises InputError for tokens that the dataset does not know, and for models that need more than items.
    """
    if k < 1:
        raise InputError(f"k = {k}: must be at least 1.")
    if logit_adjust is None:
        logit_adjust = loaded.trainer.run_settings.eval_logit_adjust
    if not logit_adjust >= 0:
        raise InputError(f"logit_adjust = {logit_adjust}: must be >= 0.")
    if not users and not items:
        raise InputError("recommend: name users of the dataset (users), or the history of a new one (items).")
    histories = HistoryIndex(loaded.dataset)
    wanted = [(user, number, histories.items_of(number)) for user, number in _numbers(loaded, "user", users)]
    if items:
        wanted.append(("", _NEW_USER, _new_user_history(loaded, items)))
    allowed = _allowed_items(loaded, tail_only)
    tokens = [*loaded.dataset.field2id_token[loaded.dataset.iid_field]]
    groups = ["head" if is_head else "tail" for is_head in loaded.split.is_head]
    log_prior = loaded.trainer.eval_collector.log_prior
    added = None
    if new_items_file is not None:
        added = new_items(loaded.model, Path(new_items_file), known=set(tokens))
        tokens, groups = tokens + added.tokens, groups + ["new"] * len(added.tokens)
        allowed = functional.pad(allowed, (0, len(added.tokens)), value=True)
        # As of the rarest items of the catalogue.
        log_prior = functional.pad(log_prior, (0, len(added.tokens)), value=float(log_prior.amin()))
    found = []
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        interaction = _histories(loaded, batch)
        scores = _scores(loaded, interaction, added)
        scores[:, PAD_ID] = -torch.inf
        if not keep_history:
            for row, (_, _, history) in enumerate(batch):
                scores[row, history] = -torch.inf
        if loaded.trainer.neighbours is not None:
            scores = loaded.trainer.neighbours.mixed(scores, interaction)
        scores = adjust(scores, log_prior, logit_adjust)
        scores[:, ~allowed] = -torch.inf
        best = torch.topk(scores, min(k, scores.shape[1]), dim=1)
        for (user, _, _), values, columns in zip(batch, best.values, best.indices, strict=True):
            found.extend(_lines(user, values, columns, tokens, groups))
    return found


def _lines(
    user: str, values: Tensor, columns: Tensor, tokens: Sequence[str], groups: Sequence[str]
) -> Iterator[Recommendation]:
    for rank, (score, item) in enumerate(zip(values.tolist(), columns.tolist(), strict=True), start=1):
        if score > -torch.inf:
            yield Recommendation(user, rank, str(tokens[item]), score, groups[item])


def _numbers(loaded, what: str, tokens: Sequence[str]) -> list[tuple[str, int]]:
    dataset = loaded.dataset
    known = dataset.field2token_id[dataset.uid_field if what == "user" else dataset.iid_field]
    unknown = [token for token in tokens if token not in known or known[token] == PAD_ID]
    if unknown:
        near = did_you_mean(unknown[0], known) if len(known) < 50_000 else ""
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InputError(f"{what} {unknown[0]!r}{more}: not in {dataset.dataset_name} after filtering.{near}")
    return [(token, known[token]) for token in tokens]


def _new_user_history(loaded, items: Sequence[str]) -> Tensor:
    if loaded.config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        raise InputError(
            f"items: {loaded.config['model']} knows users by their number, it cannot score a new one. "
            "Take a sequential model, or name a user of the dataset."
        )
    return torch.tensor([number for _, number in _numbers(loaded, "item", items)])


def _allowed_items(loaded, tail_only: bool) -> Tensor:
    allowed = torch.ones(loaded.dataset.item_num, dtype=torch.bool)
    allowed[PAD_ID] = False
    return allowed & ~torch.tensor(loaded.split.is_head) if tail_only else allowed


def _histories(loaded, batch: list[tuple[str, int, Tensor]]) -> Interaction:
    """Users and, for a sequential model, their latest items, on the device of the model."""
    config, dataset = loaded.config, loaded.dataset
    users = torch.tensor([number for _, number, _ in batch])
    fields = {dataset.uid_field: users}
    if config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
        length = config["MAX_ITEM_LIST_LENGTH"]
        latest = [history[-length:] for _, _, history in batch]
        padded = torch.full((len(batch), length), PAD_ID)
        for row, history in enumerate(latest):
            padded[row, : len(history)] = history
        fields[dataset.iid_field + config["LIST_SUFFIX"]] = padded
        fields[config["ITEM_LIST_LENGTH_FIELD"]] = torch.tensor([len(history) for history in latest])
        if _NEW_USER in users:
            _make_the_new_user_average(loaded.model)
    return Interaction(fields).to(config["device"])


def _scores(loaded, interaction: Interaction, added: NewItems | None) -> Tensor:
    """(users, items) on the CPU, those added after training last."""
    config, model, dataset = loaded.config, loaded.model, loaded.dataset
    model.eval()
    try:
        scores = model.full_sort_predict(interaction)
    except NotImplementedError:
        scores = _predict_every_item(model, interaction, dataset, config["device"])
    except KeyError as error:
        raise InputError(
            f"{config['model']} reads the field {error}; recommend serves models that read users and items only."
        ) from None
    scores = scores.view(len(interaction), -1)
    if added is not None:
        encoder = product_encoder(model)
        hidden, item_table = encoder.encode(model, interaction), encoder.item_table(model, added.weight)
        scores = torch.cat([scores, hidden @ item_table.T], dim=1)
    return scores.float().cpu()


def _predict_every_item(model, interaction: Interaction, dataset, device) -> Tensor:
    items = torch.arange(dataset.item_num, device=device)
    rows = [
        model.predict(
            Interaction(
                {
                    **{
                        key: value[row].expand(len(items), *value[row].shape)
                        for key, value in interaction.interaction.items()
                    },
                    dataset.iid_field: items,
                }
            )
        )
        for row in range(len(interaction))
    ]
    return torch.stack(rows)


def _make_the_new_user_average(model) -> None:
    """Give user number 0 the mean of the trained users, where a model (Caser, FPMC) has embeddings of users: RecBole
    leaves that row at its random start."""
    for name in ("user_embedding", "user_lambda", "UI_emb"):
        embedding = getattr(model, name, None)
        if embedding is not None:
            embedding.weight[_NEW_USER] = embedding.weight[1:].mean(dim=0)
