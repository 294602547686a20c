"""What is said where a package is missing that an extra of edmjax installs."""


def missing(err: ModuleNotFoundError, what: str, extra: str, instead: str = "") -> ImportError:
    """The error to raise from `err`: a sentence with the command that installs the package.

    `err` itself where a module of edmjax is missing, which no installation mends. `instead` says
    what else can be done.
    """
    if err.name is None or err.name.startswith("edmjax"):
        return err
    command = f"pip install 'edmjax[{extra}]'"
    return ImportError(
        f"{what} needs {err.name!r}, which is not installed: {command}{instead}", name=err.name
    )
