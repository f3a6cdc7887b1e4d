"""Returns and advantages: pure functions of the steps of one environment, in the order of time.

Arrays are ``[T]`` and may hold several episodes, one after another, and parts of episodes at both ends.

==============  ==============================================================================================
``reward``      float; received for the action of step t
``value``       float; the value function at the observation that the action was chosen for
``next_value``  float; at the observation *arrived at*. Where an episode ended that is its final observation,
                not the first one of the next episode, which is what ``value[t + 1]`` belongs to
``terminated``  bool; the decision process ended with this step: no value follows. Wins if both flags are set
``truncated``   bool; the episode was cut off after this step, by a time limit say: ``next_value`` follows
==============  ==============================================================================================

Nothing crosses the end of an episode, NaN included. The last step has no successor and is read like a
truncated one. What has no weight is not read and may be NaN: ``next_value`` of a terminated step, all
that follows where ``gamma`` is a Python 0.

**Batches.** ``jax.vmap``: for arrays ``[T, E]``, ``jax.vmap(lambda *steps: gae(*steps, gamma=0.99, lam=0.95),
in_axes=1, out_axes=1)(reward, value, next_value, terminated, truncated)``.

**next_value.** Evaluate the value function on what each step arrived at: ``next_value = value_of(next_obs)``
where ``next_obs`` is ``final_obs`` on steps that ended an episode (`jaxbuffers.final_observations`,
``info["final_observation"]`` of gymnax) and the observation returned by the environment elsewhere. Under
Gymnasium's ``next_step`` mode, and without auto-reset, what ``step`` returned is right as it is; in that mode
the step after an end, which only resets, is one that never happened.

**Rows.** Of consecutive rows ``[T + 1]`` as a replay holds them, ``value = v[:-1]``, ``next_value = v[1:]``,
``reward[1:]``, ``is_terminal[1:]`` and ``is_last[1:] & ~is_terminal[1:]`` are the steps. Between the last row
of an episode and the first of the next lies one that never happened. (An episode may be abandoned without
``is_last``: then set ``truncated`` for the step that arrived at the row before ``is_first``.)

**Steps that never happened** have results that mean nothing: mask them in the loss. They reach no other step,
for the step before them ended an episode.

**Dtypes.** Results have the dtype of ``reward``; ``value`` and the others must have it too, integers are
refused. Rounding errors are carried along (`jaxbuffers.numerics.double_float`): results in float32 are as good as
float64 arithmetic rounded once, however long the episodes; in 16 bits, as float32 rounded once.

**Gradients** flow through every float argument and through ``gamma`` and ``lam`` if they are arrays. Where a
target or an advantage is to be a constant, say so: ``jax.lax.stop_gradient(target)``.

All are scans of T steps, one after another, and take memory for a few arrays ``[T]``.

All raise `ShapeError` for what is not ``[T]`` (nothing is broadcast), `DtypeError` for a dtype other than
above (nothing is cast) and `ConfigurationError` for a number out of range, each naming the argument. The
values of arrays are not checked.
"""

from jaxbuffers.onpolicy.returns.bootstrapped import gae, lambda_returns, n_step_returns
from jaxbuffers.onpolicy.returns.monte_carlo import mc_returns, reward_to_go
from jaxbuffers.onpolicy.returns.off_policy import vtrace

__all__ = ["gae", "lambda_returns", "mc_returns", "n_step_returns", "reward_to_go", "vtrace"]
