// One job for each event, which runs so many trivial handlers side by side.
import { Worker } from 'bullmq';

const handlers = Array.from({ length: Number(process.env.HANDLERS_COUNT ?? 3) }, () => async () => {});

const worker = new Worker('events', async (job) => Promise.all(handlers.map((handle) => handle(job.data))), {
  connection: { path: process.env.REDIS_SOCKET, maxRetriesPerRequest: null },
  concurrency: 100,
});
worker.on('error', (error) => console.error(error.message));
process.on('SIGTERM', () => process.exit(0));
