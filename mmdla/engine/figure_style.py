"""Names and colours of the systems: the same in all figures."""
NAMES = dict(resnet='ResNet', mrla_l='MRLA-L', mrla_b='MRLA-B', dla_l='DLA-L', dla_b='DLA-B',
             dia='DIANet', se='SE', eca='ECA', rla='RLA')
COLOURS = dict(resnet='0.5', mrla_l='C0', mrla_b='C1', dla_l='C2', dla_b='C3', dia='C4', se='C5',
               eca='C6', rla='C8')


def style(system: str) -> dict:
    """Label and colour, for matplotlib, of what begins with a system's name.

    Args:
        system (str): As in configs/, such as ``dla_l_b128_cifar100``, which becomes 'DLA-L b128
            cifar100'; or as in a text, such as ``DLA-L, seed 1``, which stays. Others have no colour.
    """
    for key, name in NAMES.items():
        for beginning in (key, name):
            rest = system.removeprefix(beginning)
            if rest != system and not rest[:1].isalpha() or system == beginning:
                label = system if beginning == name else name + rest.replace('_', ' ')
                return dict(label=label, color=COLOURS[key])
    return dict(label=system)
