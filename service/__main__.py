"""`python -m service` is `rerankd`, for a checkout that is not installed."""

from service.cli import main

main()
