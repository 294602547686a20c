"""The papers' algorithms, written down from the papers: what the samplers are compared with.

Each is a plain function of NumPy arrays, `method(denoise, x, t, ...)`, from the levels `t[0]` down
to `t[-1]`; stochastic ones take their draws as `noise`, in the order of use. Nothing is shared with
the package: integrals are done by quadrature and linear equations by LAPACK.
"""
