"""Where RecIS keeps its logger; scripts import it from here."""
