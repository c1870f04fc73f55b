// Fastify takes the event and BullMQ queues it; the event's id is the job's, so that a duplicate is dropped.
import Fastify from 'fastify';
import { Queue } from 'bullmq';

const queue = new Queue('events', {
  connection: { path: process.env.REDIS_SOCKET },
  defaultJobOptions: { removeOnComplete: false }, // what is forgotten is no duplicate any more
});
const app = Fastify({ logger: false, bodyLimit: 1024 * 1024 });

app.post('/webhooks/glartek/:token', async (request, reply) => {
  if (request.params.token !== process.env.WEBHOOK_TOKEN) return reply.code(404).send();
  await queue.add('deliver', request.body, { jobId: request.body.id });
  return reply.code(200).send();
});

process.on('SIGTERM', () => process.exit(0));
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
