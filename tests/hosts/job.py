"""What each process of a run does: ``job.py NUMBER COUNT ADDRESS WHAT ...``."""

import json
import os
import re
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbuffers as jb
from hosts.work import ROW, Work, begin, mesh_of, sharded_on, sums_of

HEARTBEAT = 10


def say(word, *what):
    print(word, *what, flush=True)


def expect(error, text, call):
    """A call that raises, and says why."""
    with pytest.raises(error, match=re.escape(text)):
        call()


def resumed(manager, mesh):
    """The newest checkpoint of a run, or its beginning."""
    like = begin(mesh)
    return manager.restore(like).tree if manager.steps() else like


def train(mesh, folder, last, every=2):
    """Go on from the newest checkpoint to a step, saving in the foreground and in the background by turns."""
    work = Work(mesh)
    with jb.checkpoint.Manager(folder, timeout=60) as manager:
        run = resumed(manager, mesh)
        say("from", run["step"])
        while run["step"] < last:
            run = work.step(run)
            step = run["step"]
            if step % every == every - 1:
                background = step % (2 * every) == every - 1
                manager.save(step, run, background=background)
                if background and step < last:
                    run = work.step(run)  # meanwhile
                    manager.wait()
                say("saved", step)
    say("sums", json.dumps(sums_of(run)))
    return run


def draws(mesh, run):
    """Each process gets windows of its own environments, and all see the same whole."""
    work = Work(mesh)
    batch = work.sharded.sample(run["replay"], jax.random.key(0))
    own = {int(x) for each in batch.index.stream.addressable_shards for x in np.asarray(each.data).ravel()}
    per_process = 8 // jax.process_count()
    first = per_process * jax.process_index()
    assert own <= set(range(first, first + per_process)), own
    assert batch.data["x"].shape == (8, 2, 3)
    assert int(work.sharded.size(run["replay"])) == 8 * min(5, run["step"] + 1)
    assert bool(batch.valid)


def refusals(mesh, run, folder):
    """What cannot be saved together is refused in every process, and leaves nothing."""
    number, path, save = jax.process_index(), folder / "refused", partial(jb.checkpoint.save, timeout=60)
    other = run | {"step": number}
    expect(jb.errors.CheckpointError, "leaf 'step' is not the same in process", lambda: save(path, other))
    other = run | {"seen": run["seen"] + number, "step": number}
    expect(jb.errors.CheckpointError, "is not the same in process", lambda: save(path, other))
    expect(jb.errors.CheckpointError, "metadata is not the same", lambda: save(path, run, metadata=[number]))
    buffer = jb.HostReplay(jb.Replay(8, None, 2, jb.Items()), {"x": np.float32})
    expect(jb.errors.StructureError, "a HostReplay belongs to one process", lambda: save(path, run | {"b": buffer}))
    expect(jb.errors.StructureError, "a TextTable belongs to one", lambda: save(path, run, tables=jb.TextTable()))
    bad = run | ({"x": object()} if number else {"x": 1})  # in one process only: the others hear of it
    expect((jb.errors.DtypeError, jb.errors.CheckpointError), "of type object", lambda: save(path, bad))
    mine = folder / f"{'one' if number else 'another'}"
    expect(jb.errors.CheckpointError, "saves", lambda: save(mine, run))
    if number == 0:  # the others may look before it has swept
        assert not [each.name for each in folder.iterdir() if each.name.startswith(("refused", "one", "another"))]
    save(path, run, metadata="first" if number == 0 else None)
    expect(jb.errors.CheckpointError, "nothing is overwritten", lambda: save(path, run))
    save(path, run, metadata="again", overwrite=True)
    left = list(folder.glob("refused*"))
    assert number or len(left) == 1 + jax.process_count(), left
    jb.checkpoint.save(folder / f"own-{number}", {"here": number})  # what is not shared is each one's own affair
    assert jb.checkpoint.restore(folder / f"own-{number}", {"here": 0}).tree == {"here": number}
    wrong = run | ({"step": "x"} if number else {})
    expect((jb.errors.DtypeError, jb.errors.CheckpointError), "step", lambda: jb.checkpoint.restore(path, wrong))
    data, nothing = NamedSharding(mesh, P("data")), np.zeros((0, 2), np.float32)
    weak = jax.jit(lambda: jnp.asarray(0.5), out_shardings=NamedSharding(mesh, P()))()
    kinds = {"weak": weak, "none": jax.make_array_from_callback((0, 2), data, lambda _: nothing)}
    assert kinds["weak"].weak_type
    save(folder / "kinds", kinds)
    again = jb.checkpoint.restore(folder / "kinds", jax.tree.map(jnp.zeros_like, kinds)).tree
    assert sums_of(again) == sums_of(kinds)
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), run["replay"])
    again = jb.checkpoint.restore(path, run | {"replay": structs}).tree
    assert sums_of(again) == sums_of(run)
    work = Work(mesh)
    again = work.step(again)
    save(folder / "in place", again)
    places = pointers(again)
    assert pointers(work.step(again)) == places, "a save has left a view that keeps a state from being donated"
    if jax.sharding.AxisType.Explicit in mesh.axis_types:
        with jax.set_mesh(mesh):  # which has the devices of these shapes
            like = run | {"replay": jax.eval_shape(lambda: sharded_on(mesh).init(ROW))}
            assert sums_of(jb.checkpoint.restore(path, like).tree) == sums_of(run)


def pointers(run):
    return [each.data.unsafe_buffer_pointer() for each in run["replay"].ring.words.addressable_shards]


def main(number, count, address, what, folder, last):
    jax.distributed.initialize(address, count, number, initialization_timeout=60, heartbeat_timeout_seconds=HEARTBEAT)
    say("connected")
    mesh, folder = mesh_of(), Path(folder)
    try:
        run = train(mesh, folder, int(last))
        if what == "all":
            draws(mesh, run)
            refusals(mesh, run, folder.parent)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # at an ordinary end it would wait for the others, who wait for it
    if what != "train":
        say("ready")
        while not (folder.parent / "killed").exists():
            time.sleep(0.02)
        jb.checkpoint.save(folder.parent / "alone", run, timeout=1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
