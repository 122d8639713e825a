"""Train the StarNet on rendered words, by the clock.

    python -m benchmarks.train_starnet.train RUN --pool POOL --deadline 2026-01-31T08:20

The learning rate follows one cosine over the time that is left, so the run ends annealed whenever
the deadline is. First the localisation net learns alone, from the outlines the renderer knows;
then it rests while the others learn to read what it rectifies; at the end all learn together.
RUN receives ``last.pt`` (to resume), ``model.pt`` (the averaged weights, what is evaluated and
shipped) and ``log.csv``. SIGTERM to the processes ends the run; the last save is kept.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.train_starnet.data import ALPHABET, WIDTH, Shard, as_input, load_shard
from benchmarks.train_starnet.network import StarNet, load_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_FOUND = 1.6  # targets far outside the image teach nothing
LEAST_SPREAD = 4  # letters; the outline of a shorter word is wider than the word
VAL_SHARE = 512  # images of shard 0 that are never trained on: a running check, not the figure


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--deadline", type=dt.datetime.fromisoformat, required=True, help="UTC")
    parser.add_argument("--start", type=Path, help="a converted .npz to start a new run from")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--warm", type=int, default=200, help="steps of warm-up")
    parser.add_argument("--loc-minutes", type=float, default=0.0, help="for that net alone")
    parser.add_argument("--loc-rate", type=float, default=3e-3)
    parser.add_argument("--hinted", type=int, default=1600, help="steps until hints have faded")
    parser.add_argument("--loc-scale", type=float, default=0.25, help="of its rate with the rest")
    parser.add_argument("--frozen", type=float, default=0.8, help="share of time it then rests")
    parser.add_argument("--average", type=float, default=0.995, help="decay of the weight average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    options = parser.parse_args()
    options.run.mkdir(parents=True, exist_ok=True)
    (options.run / "pid").write_text(str(os.getpid()))
    torch.multiprocessing.spawn(work, (options,), options.workers)


def work(rank: int, options: argparse.Namespace) -> None:
    """Train as one of several processes that average their gradients.

    On a machine shared with others this is much faster than threads, which wait for each other
    within every layer.
    """
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    meeting = f"file://{(options.run / 'meeting').resolve()}"
    (options.run / f"pid{rank}").write_text(str(os.getpid()))
    dist.init_process_group("gloo", meeting, rank=rank, world_size=options.workers)
    Trainer(options).train()


class Trainer:
    """The state of a run: weights, their average, the optimiser, the clock."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Start anew, or where ``last.pt`` stopped."""
        self.options = options
        self.model = StarNet()
        if options.start:
            load_arrays(self.model, options.start)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.mean = StarNet().eval().to(memory_format=torch.channels_last)
        self.mean.load_state_dict(self.model.state_dict())
        loc = list(self.model.transform.loc_net.parameters())
        known = {id(p) for p in loc}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
        groups: list[dict[str, Any]] = [{"params": loc}, {"params": rest}]
        self.optimizer = torch.optim.AdamW(groups, options.rate, weight_decay=1e-3, foreach=True)
        self.step = 0
        self.started = time.time()
        self.deadline = options.deadline.replace(tzinfo=dt.timezone.utc).timestamp()
        self.rng = np.random.default_rng([options.seed, dist.get_rank(), int(self.started)])
        last = options.run / "last.pt"
        if last.exists():
            state = torch.load(last)
            self.model.load_state_dict(state["model"])
            self.mean.load_state_dict(state["mean"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def train(self) -> None:
        """Run until the deadline."""
        if self.options.loc_minutes:
            self.train_loc_net()
        share = self.options.batch // self.options.workers
        batches = batches_of(self.options.pool, share, self.rng)
        begin, tick, first = time.time(), time.time(), self.step
        losses: list[tuple[float, float]] = []
        self.model.train()
        while (done := self.agreed((time.time() - begin) / (self.deadline - begin))) < 1:
            warm = min(1.0, (self.step - first + 1) / self.options.warm)
            rate = warm * self.options.rate * cosine(done)
            self.set_rate(rate, rate * self.options.loc_scale)
            losses.append(self.read_step(next(batches), frozen=done < self.options.frozen))
            self.step += 1
            self.update_mean()
            if self.step % 50 == 0:
                self.log(losses, (time.time() - tick) / 50)
                losses.clear()
                tick = time.time()
            if self.step % 100 == 0:
                self.save()
        self.save()
        self.log(losses, 0.0)

    def agreed(self, done: float) -> float:
        """Return what the first process says: all keep one clock."""
        clock = torch.tensor([done])
        dist.broadcast(clock, 0)
        return float(clock)

    def average_gradients(self) -> None:
        """Replace the gradients by their mean over the processes."""
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))

    def train_loc_net(self) -> None:
        """Teach the localisation net alone where the words are."""
        seconds = 60 * self.options.loc_minutes
        begin, net, count = time.time(), self.model.transform.loc_net, 0
        batches = batches_of(self.options.pool, 64, self.rng)
        while (done := self.agreed((time.time() - begin) / seconds)) < 1:
            images, _, target = next(batches)
            self.set_rate(0.0, self.options.loc_rate * min(1.0, (count + 1) / 50) * cosine(done))
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                found = net(images)
            loss = outline_loss(found.float(), target)
            loss.backward()
            self.average_gradients()
            self.optimizer.step()
            count += 1
            if count % 50 == 0 and dist.get_rank() == 0:
                print(f"loc {count} {loss.item():.4f} {done:.2f}", flush=True)
        self.mean.load_state_dict(self.model.state_dict())
        self.save()

    def read_step(self, batch: Batch, *, frozen: bool) -> tuple[float, float]:
        """Take one step; return the CTC loss and the outline loss."""
        images, labels, target = batch
        self.optimizer.zero_grad()
        net = self.model.transform.loc_net.eval()  # its statistics have settled
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(not frozen):
            found = net(images)
        found = found.float()
        upright = self.model.transform(images, found)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model.read(upright.contiguous(memory_format=torch.channels_last))
        reading = ctc_loss(logits.float(), labels)
        outline = outline_loss(found, target)
        hint = max(0.0, 0.5 * (1 - self.step / self.options.hinted))
        total = reading + (0.0 if frozen else outline)
        if hint:
            total = total + hint * column_loss(logits.float(), labels)
        total.backward()
        self.average_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return reading.item(), outline.item()

    def set_rate(self, rate: float, loc_rate: float) -> None:
        """Set the learning rates of the reader and of the localisation net."""
        for group, value in zip(self.optimizer.param_groups, (loc_rate, rate), strict=True):
            group["lr"] = value

    def update_mean(self) -> None:
        """Move the averaged weights and statistics towards the current ones."""
        decay = min(self.options.average, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            current = self.model.state_dict()
            for name, value in self.mean.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(current[name], 1 - decay)
                else:
                    value.copy_(current[name])

    def save(self) -> None:
        """Write the two checkpoints, each whole or not at all; the first process does."""
        if dist.get_rank() > 0:
            return
        resume = {
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        for name, state in (("last.pt", resume), ("model.pt", self.mean.state_dict())):
            part = self.options.run / (name + ".part")
            torch.save(state, part)
            part.replace(self.options.run / name)

    def log(self, losses: list[tuple[float, float]], step_s: float) -> None:
        """Append a line to ``log.csv``; every 250 steps with the accuracy on held-out images."""
        if dist.get_rank() > 0:
            return
        accuracy = self.check() if self.step % 250 == 0 else None
        reading, outline = np.mean(losses, axis=0) if losses else (math.nan, math.nan)
        row = {
            "step": self.step,
            "minutes": f"{(time.time() - self.started) / 60:.1f}",
            "rate": f"{self.optimizer.param_groups[1]['lr']:.2e}",
            "ctc": f"{reading:.4f}",
            "outline": f"{outline:.4f}",
            "s_per_step": f"{step_s:.2f}",
            "accuracy": "" if accuracy is None else f"{accuracy:.4f}",
        }
        path = self.options.run / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(*row.values(), flush=True)

    def check(self) -> float:
        """Return the averaged weights' accuracy on the held-out images of shard 0."""
        shard = load_shard(self.options.pool / "00000.npz")
        images = as_input(shard.images[:VAL_SHARE], shard.widths[:VAL_SHARE])
        texts = read_texts(self.mean, images)
        return float(np.mean([a == b for a, b in zip(texts, shard.labels, strict=False)]))


def spread() -> NDArray[np.float32]:
    """Return float32 [20, 20]: fiducials of an outline -> of one 7 % longer and 8 % higher.

    A localisation net misses by a few percent; what it cuts off no reader can read.
    """
    at = 1.07 * np.linspace(0, 9, 10) - 0.07 * 4.5
    left = at.astype(int).clip(0, 8)
    along = np.zeros((10, 10))
    along[range(10), left] = left + 1 - at
    along[range(10), left + 1] = at - left
    return np.kron([[1.04, -0.04], [-0.04, 1.04]], along).astype(np.float32)


SPREAD = spread()
Batch = tuple[Tensor, list[str], Tensor]


def batches_of(pool: Path, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches for ever: four random shards at a time, mixed, lightly augmented."""
    while True:
        paths = sorted(pool.glob("*.npz"))
        chosen = rng.choice(len(paths), min(4, len(paths)), replace=False)
        shards = [without_check(load_shard(paths[i]), paths[i]) for i in chosen]
        whole = Shard(*(np.concatenate(field) for field in zip(*shards, strict=True)))
        order = rng.permutation(len(whole.labels))
        for start in range(0, len(order) - size + 1, size):
            pick = order[start : start + size]
            yield augmented(whole.take(pick), rng)


def without_check(shard: Shard, path: Path) -> Shard:
    """Drop the images `Trainer.check` looks at."""
    return shard.take(slice(VAL_SHARE, None)) if path.stem == "00000" else shard


def augmented(shard: Shard, rng: np.random.Generator) -> Batch:
    """Turn images into a batch: some negatives, some channels swapped, contrast and brightness."""
    images = as_input(shard.images, shard.widths)
    each = (len(images), 1, 1, 1)
    gain = rng.uniform(0.7, 1.2, each) * rng.choice([1, -1], each, p=[0.7, 0.3])
    images = images[:, rng.permutation(3)] * gain + rng.uniform(-0.15, 0.15, each)
    images = images.clip(-1, 1).astype(np.float32)
    padding = np.arange(WIDTH) >= shard.widths[:, None, None, None]
    images[np.broadcast_to(padding, images.shape)] = 0
    tensor = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
    target = torch.from_numpy((SPREAD @ shard.fiducials).clip(-MAX_FOUND, MAX_FOUND))
    return tensor, list(shard.labels), target


def cosine(done: float) -> float:
    """Return the factor of the learning rate: 1 at the start, 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * done))


def outline_loss(found: Tensor, target: Tensor) -> Tensor:
    """Return the mean L1 distance of fiducials, in half images; y counts double."""
    return ((found - target).abs() * torch.tensor([1.0, 2.0])).mean()


def ctc_loss(logits: Tensor, labels: list[str]) -> Tensor:
    """Return the mean CTC loss per word of float32 [B, 25, 37]."""
    targets = torch.tensor([ALPHABET.index(c) + 1 for label in labels for c in label])
    lengths = torch.tensor([len(label) for label in labels])
    steps = torch.full((len(labels),), logits.shape[1])
    scores = logits.log_softmax(2).transpose(0, 1)
    losses = functional.ctc_loss(
        scores, targets, steps, lengths, reduction="none", zero_infinity=True
    )
    return losses.mean() / 6  # about a word's length: keeps the scale of a per-letter loss


def column_loss(logits: Tensor, labels: list[str]) -> Tensor:
    """Return a hint: in an upright word the letters stand at about equal distances.

    CTC alone spends its first thousand steps on finding out which columns matter.
    """
    rows, columns, classes = [], [], []
    for row, label in enumerate(labels):
        if len(label) < LEAST_SPREAD:
            continue
        for i, letter in enumerate(label):
            rows.append(row)
            columns.append(int((i + 0.5) * logits.shape[1] / len(label)))
            classes.append(ALPHABET.index(letter) + 1)
    return functional.cross_entropy(logits[rows, columns], torch.tensor(classes))


def read_texts(model: StarNet, images: NDArray[np.float32], *, identity: bool = False) -> list[str]:
    """Return what the model reads in float32 [N, 3, 32, 100]."""
    texts: list[str] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(images), 256):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + 256]))
            texts += map(decoded, model(batch, identity=identity).argmax(2).tolist())
    return texts


def decoded(ids: list[int]) -> str:
    """Merge repeats and drop blanks."""
    kept = (b for a, b in zip([0, *ids], ids, strict=False) if b != a and b)
    return "".join(ALPHABET[i - 1] for i in kept)


if __name__ == "__main__":
    main()
