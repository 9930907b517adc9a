"""The commands of `rerankd`, one module each, whose `command` is imported when it is called."""
