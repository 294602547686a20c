# Programs that a type checker must refuse: an error in every line that says so, and in no other.
# This file is read by pyright in test_types.py, and never run.
import jax

import edmjax as ej

key = jax.random.key(0)
sigmas = ej.schedules.karras(18)
sampler = ej.samplers.heun()
plan = ej.make_plan(sampler, sigmas)
denoise = ej.denoisers.edm(lambda x, c_noise: x)
x = 80.0 * jax.random.normal(key, (16, 2))

ej.make_plan(plan, sigmas)  # wrong: a plan where a sampler is asked
ej.make_plan(sampler, ej.schedules.karras)  # wrong: a schedule that was not called
ej.make_plan(ej.samplers.heun, sigmas)  # wrong: a sampler factory that was not called
ej.make_plan("heun", sigmas)  # wrong: a string for a sampler
ej.sample(denoise, plan, x, 0)  # wrong: an int for a key
ej.sample(denoise, ej.sample(denoise, plan, x), x)  # wrong: a sample used as a plan
ej.sample(ej.correctors.langevin(0.16), plan, x)  # wrong: a corrector as a denoiser
ej.sample(denoise, sampler, x)  # wrong: a sampler where a plan is asked
ej.sample(denoise, plan, x, corrector=denoise)  # wrong: a denoiser as a corrector
ej.samplers.churn("heun", s_churn=40.0)  # wrong: a string for the inner sampler
ej.schedules.karras("18")  # wrong: a string for a count
ej.guidance.classifier_free(plan, 2.0)  # wrong: a plan as a denoiser
ej.denoisers.edm(plan)  # wrong: a plan as a network
ej.sample_keys(0, 16)  # wrong: an int for a key
ej.sweep(denoise, [sampler], x)  # wrong: a sampler among the plans
ej.recommend("10")  # wrong: a string for a number of evaluations
