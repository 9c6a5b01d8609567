//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server that the run has started, without persistence.
type redisServer struct {
	*child
	address string
	client  *redis.Client
}

func (b *bench) startRedis(ctx context.Context, name string) (*redisServer, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s := &redisServer{}
	if s.address, err = freeAddress(); err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o750); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if s.child, err = startChild(b.dir, name, nil, path, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction"); err != nil {
		return nil, err
	}
	b.children = append(b.children, s.child)
	s.client = redis.NewClient(&redis.Options{Addr: s.address})
	return s, s.await(ctx, func(ctx context.Context) error { return s.client.Ping(ctx).Err() })
}

// stored is the mean size of the entities of one kind in Redis, in bytes.
type stored struct {
	Entities int `json:"entities"`
	// Value is the length of the value, Memory what Redis spends on key, value and expiry.
	Value  float64 `json:"value_bytes"`
	Memory float64 `json:"memory_bytes"`
	// Largest is the length of the longest value.
	Largest int64 `json:"largest_value_bytes"`
}

// entitySample is how many keys of Redis are looked at.
const entitySample = 20_000

// sizes looks at keys of the form prefix:{kind.partition}:id.
func (s *redisServer) sizes(ctx context.Context) (map[string]stored, error) {
	sums := make(map[string]stored)
	keys := s.client.Scan(ctx, 0, "fs:*:{*}:*", 1000).Iterator()
	for n := 0; n < entitySample && keys.Next(ctx); n++ {
		_, tag, _ := strings.Cut(keys.Val(), "{")
		kind, _, _ := strings.Cut(tag, ".")
		length, err := s.client.StrLen(ctx, keys.Val()).Result()
		if err != nil {
			continue // the shard's set of open cards, which is no entity
		}
		memory, err := s.client.MemoryUsage(ctx, keys.Val(), 0).Result()
		if err != nil {
			return nil, fmt.Errorf("memory of a key: %w", err)
		}
		sum := sums[kind]
		sum.Entities++
		sum.Value += float64(length)
		sum.Memory += float64(memory)
		sum.Largest = max(sum.Largest, length)
		sums[kind] = sum
	}
	if err := keys.Err(); err != nil {
		return nil, fmt.Errorf("scan redis: %w", err)
	}
	for kind, sum := range sums {
		sum.Value /= float64(sum.Entities)
		sum.Memory /= float64(sum.Entities)
		sums[kind] = sum
	}
	return sums, nil
}
