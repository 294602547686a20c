"""Of methods in the time of a flow, read on levels of sigma."""

import functools

from support.certificates.table import add
from support.papers import exponential, flows, linear_multistep, single_step
from support.parity import paper

in_time = functools.partial(paper, flows.in_time)

add(
    "in_flow_time(heun())",
    "2n - 1",
    in_time(single_step.flow, single_step.heun),
    name="in_flow_time",
    order=2,
    shared=True,
)
add("in_flow_time(euler())", "n", paper(single_step.flow, single_step.euler), order=1)
add("in_flow_time(dpm_2())", "2n - 1", in_time(single_step.flow, single_step.dpm_2), order=2)
add(
    "flow_ancestral(euler())",
    "n",
    paper(flows.flow_ancestral, single_step.euler),
    name="flow_ancestral",
    weak=1,
)
add(
    "flow_ancestral(dpmpp_2s(), 0.6)",
    "2n - 1",
    paper(flows.flow_ancestral, single_step.dpmpp_2s, 0.6),
    weak=2,
)
add(
    "in_flow_time(lms())",
    "n",
    in_time(linear_multistep.adams_bashforth, 4),
    order=2,
    zero="own",
    float32=1e-5,  # Karras' levels are near each other in t, where weights are differences of them
)
add("in_flow_time(dpmpp_2m())", "n", in_time(exponential.dpmpp_multistep, 2), order=2)
add("lcm(s_noise=1.0)", "n", paper(flows.lcm), name="lcm")
