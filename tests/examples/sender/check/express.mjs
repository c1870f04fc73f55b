// Express as its guide has it. PORT PATH
import express from 'express';

const app = express();
app.use(express.json());
app.post(process.argv[3], (request, response) => response.sendStatus(request.body ? 200 : 400));
app.listen(Number(process.argv[2]), '127.0.0.1');
