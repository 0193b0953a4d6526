export type { ReadonlySignal, Signal } from '@preact/signals';
export { batch, computed, effect, signal, untracked, useSignal } from '@preact/signals';
export { html } from 'htm/preact';
export { Fragment, h, render } from 'preact';
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
