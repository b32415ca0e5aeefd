"""The figure of what DLA does: python docs/figures/draw_layer_attention.py writes what_dla_does.png."""
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch  # noqa: E402

# green is DLA-L and red DLA-B in every figure (tools/analysis/plot_benchmark.py)
LIGHT, BASE, FORWARD, PLAIN = 'C2', 'C3', '0.25', '0.5'


def box(axis, x, y, text, colour=PLAIN, width=0.9, height=0.56):
    axis.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, lw=1.4,
                                  boxstyle='round,pad=0.02,rounding_size=0.08', ec=colour, fc='white'))
    axis.text(x, y, text, ha='center', va='center', fontsize=11)


def dot(axis, x, y, text, colour=FORWARD, radius=0.3):
    axis.add_patch(Circle((x, y), radius, ec=colour, fc='white', lw=1.4))
    axis.text(x, y, text, ha='center', va='center', fontsize=11)


def arrow(axis, start, end, colour=PLAIN, style='-', bend=0.0):
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle='-|>', mutation_scale=11, color=colour, lw=1.4,
                                   linestyle=style, connectionstyle=f'arc3,rad={bend}',
                                   shrinkA=0, shrinkB=0))


def note(axis, x, y, text, colour='k', **kwargs):
    axis.text(x, y, text, fontsize=9, color=colour, **{'ha': 'center', 'va': 'center', **kwargs})


def base(axis):
    """DLA-B in layer 4 of a stage."""
    axis.set_title('DLA-B (base), in layer $l$ = 4 of a stage', fontsize=12)
    places = (0.8, 2.5, 4.2, 5.9)
    for t, x in enumerate(places, 1):
        box(axis, x, 1.6, f'$x_{t}$')
        dot(axis, x, 3.1, f'$c_{t}$')
        arrow(axis, (x, 1.9), (x, 2.78), FORWARD)
    arrow(axis, (-0.1, 3.1), (0.48, 3.1), FORWARD)
    for left, right in zip(places, places[1:]):
        arrow(axis, (left + 0.32, 3.1), (right - 0.32, 3.1), FORWARD)
        arrow(axis, (left + 0.47, 1.6), (right - 0.47, 1.6))
    note(axis, 0.2, 3.75, 'forward path: the context unit (DSU)\nreads the mean of each layer\'s map',
         ha='left')
    for x, t in zip(places[:3], (1, 2, 3)):
        arrow(axis, (places[3] - 0.25, 2.9), (x + 0.42, 1.9), BASE, '--', 0.06)
        note(axis, x + 0.35, 2.28, f'$d_{t}$', BASE, ha='right')
    note(axis, 6.4, 3.75, 'backward path: $c_4$ refreshes\nearlier layers, '
         '$x_t \\leftarrow x_t\\, d_t$', BASE, ha='right')
    box(axis, 3.35, -0.1, '$o_4 = \\sum_t\\, \\mathrm{softmax}_t(q_4 \\cdot k_t)\\; v_t$', BASE, 3.7)
    for x in places:
        arrow(axis, (x, 1.3), (3.35 + (x - 3.35) * 0.55, 0.22), BASE)
    note(axis, 3.35, -0.75,
         'attention over the layers of the stage; then $x_4 + \\mathrm{ReLU(BN}(o_4))$')


def light(axis):
    """DLA-L in layer l."""
    axis.set_title('DLA-L (light), in layer $l$', fontsize=12)
    dot(axis, 0.6, 3.1, '$c_{l-1}$', radius=0.36)
    dot(axis, 3.6, 3.1, '$c_l$', radius=0.36)
    arrow(axis, (0.98, 3.1), (3.22, 3.1), FORWARD)
    note(axis, 2.1, 3.35, 'forward path (DSU)')
    box(axis, 0.6, 1.6, '$o_{l-1}$', width=1.0)
    box(axis, 3.6, 1.6, '$x_l$')
    arrow(axis, (3.6, 1.9), (3.6, 2.72), FORWARD)
    arrow(axis, (3.3, 2.88), (1.14, 1.78), LIGHT, '--', 0.1)
    note(axis, 1.0, 2.35, 'backward path:\n$o_{l-1} \\leftarrow o_{l-1}\\, d_l$', LIGHT)
    box(axis, 2.1, -0.1, '$o_l = \\lambda_l\\, o_{l-1} + \\sigma(q_l \\cdot k_l)\\; v_l$', LIGHT, 3.4)
    arrow(axis, (0.6, 1.3), (1.3, 0.22), LIGHT)
    arrow(axis, (3.6, 1.3), (2.9, 0.22), LIGHT)
    note(axis, 2.1, -0.75, 'one map is carried on; then $x_l + \\mathrm{BN}(o_l)$')


def main() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.9), width_ratios=(6.9, 4.6))
    for axis, draw, right in zip(axes, (base, light), (6.7, 4.4)):
        draw(axis)
        axis.set(xlim=(-0.2, right), ylim=(-1.05, 4.15), aspect='equal')
        axis.axis('off')
    figure.tight_layout(pad=0.4, w_pad=2)
    figure.savefig(Path(__file__).with_name('what_dla_does.png'), dpi=110, metadata={'Software': None})


if __name__ == '__main__':
    main()
