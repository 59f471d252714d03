"""The ``antiphon`` command. Import nothing from here; start at `antiphon.cli.main`."""
