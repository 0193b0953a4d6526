// @ts-check
/** What a server without runs shows: how to get the first one. */
import { html } from '../../../vendor/ui.js';
import { EmptyState } from '../../components/placeholders.js';
import { CopyLine } from '../../components/text.js';
import { root } from '../../routing/links.js';

export function GettingStarted() {
  const url = root.href.replace(/\/$/, '');
  const loop = `run = recis.monitor.init(url="${url}", project="default"); run.log({"loss": loss}, step=step)`;
  return html`<${EmptyState} title="No runs yet">
    <p>
      A run appears here as soon as a training process connects. To see one now, start the demo, which trains a
      recommender on real ratings:
    </p>
    <${CopyLine} text="recis-monitor demo" />
    <p>To monitor your own training, set the URL of this server; the Trainer does the rest:</p>
    <${CopyLine} text=${`export RECIS_MONITOR_URL=${url}`} />
    <p>Without the Trainer, in any Python training loop:</p>
    <${CopyLine} text=${loop} />
  <//>`;
}
