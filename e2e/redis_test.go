package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server without persistence: ended and started again it is empty.
type redisServer struct {
	t      *testing.T
	dir    string
	port   int
	proc   *process
	client *redis.Client
}

func startRedis(t *testing.T, dir string) *redisServer {
	t.Helper()
	r := &redisServer{t: t, dir: dir, port: freePort(t)}
	r.start()
	r.client = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", r.port)})
	t.Cleanup(func() { r.client.Close() })
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatalf("redis-server is not installed; `make deps` or `apt-get install redis-server` does it: %v", err)
	}
	data := filepath.Join(r.dir, fmt.Sprintf("redis-%d", r.port))
	if err := os.MkdirAll(data, 0o750); err != nil {
		r.t.Fatal(err)
	}
	r.proc = launch(r.t, r.dir, "redis", path, "--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--dir", data,
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	awaitListener(r.t, r.proc, r.port)
}

func (r *redisServer) url() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", r.port) }
func (r *redisServer) suspend()    { r.proc.signal(syscall.SIGSTOP) }
func (r *redisServer) resume()     { r.proc.signal(syscall.SIGCONT) }

// stop ends the server in order; redis-server leaves with 0.
func (r *redisServer) stop() {
	r.t.Helper()
	if err := r.proc.stop(10 * time.Second); err != nil {
		r.t.Fatalf("stop redis: %v", err)
	}
}

func (r *redisServer) flushAll() {
	r.t.Helper()
	if err := r.client.FlushAll(r.t.Context()).Err(); err != nil {
		r.t.Fatalf("flush redis: %v", err)
	}
}

// scan returns the values of all keys with a prefix.
func (r *redisServer) scan(prefix string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out := map[string]string{}
	var cursor uint64
	for {
		keys, next, err := r.client.Scan(ctx, cursor, prefix+"*", 1000).Result()
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", prefix, err)
		}
		if len(keys) > 0 {
			values, err := r.client.MGet(ctx, keys...).Result()
			if err != nil {
				return nil, fmt.Errorf("get keys of %s: %w", prefix, err)
			}
			for i, v := range values {
				if text, ok := v.(string); ok {
					out[keys[i]] = text
				}
			}
		}
		if cursor = next; cursor == 0 {
			return out, nil
		}
	}
}

// shardCount is how many shards a node has: three kinds of 64 partitions.
const shardCount = 3 * 64

// awaitFolded waits until every shard's watermark has passed a beacon that was written at since or later (Unix milliseconds). What was in the
// log by then is in the states that Redis holds.
func (r *redisServer) awaitFolded(since int64) {
	r.t.Helper()
	eventually(r.t, 60*time.Second, "every watermark in redis passes the end of the traffic", func() string {
		marks, err := r.scan("fw:")
		if err != nil {
			return err.Error()
		}
		if len(marks) != shardCount {
			return fmt.Sprintf("%d watermarks, want %d", len(marks), shardCount)
		}
		behind := 0
		for _, m := range marks {
			if len(m) < 8 || int64(binary.BigEndian.Uint64([]byte(m[len(m)-8:]))) < since { // a watermark ends with its newest beacon's time
				behind++
			}
		}
		if behind > 0 {
			return fmt.Sprintf("%d watermarks are behind", behind)
		}
		return ""
	})
}

// entities returns the states of all entities.
func (r *redisServer) entities() map[string]string {
	r.t.Helper()
	states, err := r.scan("fs:")
	if err != nil {
		r.t.Fatal(err)
	}
	return states
}
