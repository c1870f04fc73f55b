// One job for each event, which runs three trivial handlers side by side.
import { Worker } from 'bullmq';

const handlers = [async () => {}, async () => {}, async () => {}];

const worker = new Worker('events', async (job) => Promise.all(handlers.map((handle) => handle(job.data))), {
  connection: { path: process.env.REDIS_SOCKET, maxRetriesPerRequest: null },
  concurrency: 100,
});
worker.on('error', (error) => console.error(error.message));
process.on('SIGTERM', () => process.exit(0));
