"""Other servers and runtimes on the same model and the same load.

`serve_*` and `local_*` (but `local_rerankd`) run inside the peers' own environments, by path: they import nothing of this repository but
`in_process`, which lies beside them and needs the standard library only.
"""
