"""The kernel behind kernels/: an IPython kernel whose first cell finds `suite` imported, `%%chat` and `%%code` loaded, and `bench` started."""

from __future__ import annotations

from ipykernel.kernelapp import IPKernelApp

READY = """
import suite
%load_ext suite.magics
try:
    bench = suite.start()
except suite.SuiteError as error:
    print(f"suite: {error}")
"""


class SuiteKernelApp(IPKernelApp):
    """Starts the stack before the first cell; a stack that cannot start is one printed sentence, and the kernel lives."""

    def init_code(self) -> None:
        """Run the start-up lines like a first cell."""
        super().init_code()
        self.shell.run_cell(READY, store_history=False, silent=False)


if __name__ == "__main__":
    SuiteKernelApp.launch_instance()
