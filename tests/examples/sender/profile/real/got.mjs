// got with its own retries, which leave POST out unless told otherwise. URL COUNT
import got from 'got';

for (let number = 0; number < Number(process.argv[3]); number++) {
  const json = {id: `evt_${number}`, type: 'action.created', a: 1, b: 2};
  const retry = {limit: 2, methods: ['POST'], calculateDelay: ({computedValue}) => (computedValue ? 50 : 0)};
  await got.post(process.argv[2], {json, retry, timeout: {request: 5000}, throwHttpErrors: true}).catch(() => {});
}
