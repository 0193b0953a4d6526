// @ts-check
/** Events of a run in a list: their order and search. Pure. */

/**
 * Return the events with every word of a text in text, kind or level, newest first.
 * @param {readonly RunEvent[]} events
 * @param {string} text
 */
export function searchEvents(events, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return events
    .filter((event) => {
      const searched = `${event.text} ${event.kind} ${event.level}`.toLowerCase();
      return words.every((word) => searched.includes(word));
    })
    .sort((a, b) => b.time - a.time || b.id - a.id);
}
