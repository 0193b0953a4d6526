/** What the server sends of processes and their output, for the type check only: the browser never loads this file. */

/** What a process says about itself; everything may be missing. */
interface ProcessInfo {
  command?: string;
  folder?: string;
  executable?: string;
  host?: string;
  os?: string;
  python?: string;
  versions?: Record<string, string>;
  cpu?: { count?: number; usable?: number; model?: string };
  memory_bytes?: number;
  devices?: { name: string; memory_bytes?: number }[];
  git?: { commit?: string; branch?: string; dirty?: boolean; remote?: string; root?: string };
  packages?: Record<string, string>;
  /** Null for a value that is not shown. */
  environment?: Record<string, string | null>;
}

interface RankProcess {
  rank: number;
  host: string;
  pid: number;
  client: string;
  started_at: string;
  info: ProcessInfo;
}

interface InfoAnswer {
  attempt: number;
  attempts: { attempt: number; started_at: string }[];
  ranks: RankProcess[];
  config: Record<string, unknown>;
}

interface LogLine {
  /** Rises in the order of arrival. */
  id: number;
  time: number;
  rank: number;
  attempt: number;
  /** stdout, stderr, reported. */
  stream: string;
  level: string;
  step: number | null;
  text: string;
}

interface LogAnswer {
  lines: LogLine[];
  first: number;
  last: number;
  more: boolean;
  dropped: number;
  removed: number;
}

/** What is asked of a log; empty or null for all. */
interface LogFilter {
  q: string;
  rank: number | null;
  stream: string;
}
