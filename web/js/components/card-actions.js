// @ts-check
/** The buttons of a chart card: its pin, and its menu, which is loaded when it is first opened. */
import { html, useRef, useSignal } from '../../vendor/ui.js';
import { isPinned, togglePin } from '../data/state.js';
import { Icon } from './icons.js';
import { lazyView } from './lazy-view.js';

/** @import { CardMenuProps } from './card-menu.js' */

const CardMenu = lazyView(async () => (await import('./card-menu.js')).CardMenu);

/** @param {Omit<CardMenuProps, 'close'>} props */
export function CardActions(props) {
  const { chart } = props;
  const open = useSignal(false);
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const pinned = isPinned(chart.id);
  const pin = pinned ? 'Unpin' : 'Pin';
  const toggle = () => {
    open.value = !open.value;
  };
  const close = () => {
    open.value = false;
    button.current?.focus();
  };
  return html`<span class="actions" data-open=${open}>
    <button
      class="quiet pin"
      aria-pressed=${pinned}
      onClick=${() => togglePin(chart.id)}
      title=${`${pin} this chart (p)`}
      aria-label=${`Pin ${chart.label}`}
    ><${Icon} shape="pin" solid=${pinned} /></button>
    <button
      class="quiet"
      ref=${button}
      aria-expanded=${open}
      onClick=${toggle}
      title="More"
      aria-label=${`More about ${chart.label}`}
    ><${Icon} shape="more" /></button>
    ${open.value && html`<${CardMenu} ...${props} close=${close} />`}
  </span>`;
}
