// ioredis as a client: `node redis_ioredis.js MODULES PORT`. Throws if a reply is not what redis
// would have answered.
'use strict';
const assert = require('assert');
const Redis = require(process.argv[2] + '/ioredis');
const port = Number(process.argv[3]);

const connect = () => new Redis({
  port, host: '127.0.0.1', maxRetriesPerRequest: 1, retryStrategy: null, connectTimeout: 5000,
});
const KEYS = 500;

async function pipelines(redis) {
  const pipeline = redis.pipeline();
  for (let i = 0; i < KEYS; i++) pipeline.set('io:' + i, 'value ' + i).get('io:' + i);
  const replies = await pipeline.exec();
  for (let i = 0; i < KEYS; i++) {
    assert.deepStrictEqual(replies[2 * i], [null, 'OK']);
    assert.deepStrictEqual(replies[2 * i + 1], [null, 'value ' + i]);
  }
  const keys = Array.from({ length: KEYS }, (_, i) => 'io:' + i);
  assert.deepStrictEqual(await redis.mget(keys), keys.map((_, i) => 'value ' + i));
  assert.strictEqual(await redis.exists(keys), KEYS);
  const bytes = Buffer.from([0, 13, 10, 255, 123, 125]);
  await redis.set(bytes, bytes);
  assert.deepStrictEqual(await redis.getBuffer(bytes), bytes);
  await assert.rejects(redis.lpush('io:1', 'x'), /WRONGTYPE/);
}

async function transactions(redis) {
  const replies = await redis.multi().set('{tag}a', 1).incr('{tag}a').mget('{tag}a', '{tag}b').exec();
  assert.deepStrictEqual(replies, [[null, 'OK'], [null, 2], [null, ['2', null]]]);
  const other = connect();
  await redis.watch('{tag}a');
  await other.set('{tag}a', 10);
  assert.strictEqual(await redis.multi().incr('{tag}a').exec(), null);
  other.disconnect();
}

async function subscriptions() {
  const subscriber = connect();
  const publisher = connect();
  const got = [];
  const done = new Promise((resolve) => {
    subscriber.on('message', (channel, text) => {
      got.push([channel, text]);
      if (got.length === 100) resolve();
    });
  });
  assert.strictEqual(await subscriber.subscribe('io-news', 'io-more'), 2);
  for (let i = 0; i < 100; i++) {
    assert.strictEqual(await publisher.publish(i % 2 ? 'io-news' : 'io-more', 'text ' + i), 1);
  }
  await done;
  got.forEach((entry, i) => assert.deepStrictEqual(entry, [i % 2 ? 'io-news' : 'io-more', 'text ' + i]));
  assert.strictEqual(await subscriber.unsubscribe(), 0);
  assert.strictEqual(await subscriber.get('io:3'), 'value 3');
  subscriber.disconnect();
  publisher.disconnect();
}

async function blocking() {
  const waiting = connect();
  const pushing = connect();
  const popped = waiting.blpop('io-list', 5);
  await pushing.set('io-unrelated', 'x');
  await pushing.rpush('io-list', 'element');
  assert.deepStrictEqual(await popped, ['io-list', 'element']);
  assert.strictEqual(await waiting.blpop('io-list', 0.05), null);
  waiting.disconnect();
  pushing.disconnect();
}

async function scanning(redis) {
  const found = new Set();
  for await (const keys of redis.scanStream({ match: 'io:*', count: 50 })) {
    for (const key of keys) found.add(key);
  }
  assert.strictEqual(found.size, KEYS);
}

async function scripts(redis) {
  redis.defineCommand('swap', {
    numberOfKeys: 1,
    lua: "local old = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], ARGV[1]) return old",
  });
  // EVALSHA first, EVAL when that shard does not have the script yet.
  for (let i = 0; i < 40; i++) assert.strictEqual(await redis.swap('io:' + i, 'new'), 'value ' + i);
  for (let i = 0; i < 40; i++) assert.strictEqual(await redis.swap('io:' + i, 'newer'), 'new');
  assert.strictEqual(await redis.eval('return #ARGV', 1, 'io:1', 'a', 'b'), 2);
}

async function main() {
  const redis = connect();
  await pipelines(redis);
  await transactions(redis);
  await subscriptions();
  await blocking();
  await scanning(redis);
  await scripts(redis);
  assert.strictEqual(await redis.quit(), 'OK');
  console.log('done');
}

main().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
