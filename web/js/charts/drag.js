// @ts-check
/** Following a pointer while it drags something. */

/**
 * Call `moved` with each position of a pointer until its release; at the end with `settled`, and with null if the drag
 * was cancelled.
 * @param {HTMLElement} element keeps receiving the pointer
 * @param {PointerEvent} press
 * @param {(now: PointerEvent | null, settled: boolean) => void} moved
 */
export function followDrag(element, press, moved) {
  const listeners = new AbortController();
  const listen = (/** @type {'pointermove' | 'pointerup' | 'pointercancel'} */ type) =>
    element.addEventListener(
      type,
      (now) => {
        if (type !== 'pointermove') listeners.abort();
        moved(type === 'pointercancel' ? null : now, type !== 'pointermove');
      },
      { signal: listeners.signal },
    );
  element.setPointerCapture(press.pointerId);
  listen('pointermove');
  listen('pointerup');
  listen('pointercancel');
}
