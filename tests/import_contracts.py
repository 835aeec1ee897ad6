"""A contract for import-linter: private modules are imported only within their package."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PrivateModules(Contract):
    """No module imports a private module of another room.

    A room is a package directly under the root. What other rooms need of it is in its public
    modules or is re-exported by the room itself. Private modules of the root are for all rooms.
    """

    root = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collect the imports that cross rooms and end in a private module."""
        del verbose
        broken = [
            (importer, imported)
            for importer in sorted(graph.modules)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if self._is_private(imported) and self._room(importer) != self._room(imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """List them."""
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports the private module {imported}.", bold=False)

    def _room(self, module: str) -> str:
        return module.split(".")[1] if "." in module else module

    def _is_private(self, module: str) -> bool:
        inside = module.removeprefix(f"{self.root}.").split(".")[1:]
        return module.startswith(f"{self.root}.") and any(part.startswith("_") for part in inside)
