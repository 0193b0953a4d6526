export { render, Fragment, h } from 'preact';
export { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
export type { Signal, ReadonlySignal } from '@preact/signals';
export { batch, computed, effect, signal, untracked, useSignal } from '@preact/signals';
export { html } from 'htm/preact';
