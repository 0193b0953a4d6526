"""The declarations of rules."""

from recis.nn.hashtable_hook import AdmitHook, FilterHook


def test_a_declaration_keeps_its_own_copy_of_the_parameters() -> None:
    params = {"filter_step": 10}
    hook = FilterHook("GlobalStepFilter", params)
    params["filter_step"] = 20
    assert hook.name == "GlobalStepFilter"
    assert hook.params == {"filter_step": 10}
    assert AdmitHook("ReadOnly").params == {}


def test_a_declaration_reads_well() -> None:
    assert repr(FilterHook("F", {"b": 1, "a": 2})) == 'FilterHook(\'F\', {"a": 2, "b": 1})'
