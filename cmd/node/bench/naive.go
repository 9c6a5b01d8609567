//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/redis/go-redis/v9"
)

// naiveKeys are the keys that the naive handler reads for one transaction.
func naiveKeys(card, device, merchant string) []string {
	return []string{"card:" + card + ":velocity", "card:" + card + ":profile", "device:" + device, "merchant:" + merchant + ":volume",
		"merchant:" + merchant + ":risk"}
}

// naiveValue is what is stored under each of them: about as long as a handful of features as JSON.
const naiveValue = `{"count_1h":3,"count_24h":11,"sum_24h":18234,"mean_30d":4312.5,"distinct_24h":4,"updated":1794567890123}`

// startNaive starts the naive handler with its Redis, which has every key.
func (b *bench) startNaive(ctx context.Context) error {
	redis, err := b.startRedis(ctx, "redis-naive")
	if err != nil {
		return err
	}
	if err := b.fillNaive(ctx, redis.client); err != nil {
		return fmt.Errorf("fill redis: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	server, err := startChild(b.dir, "naive", nil, filepath.Join(b.dir, "naive"), "-listen", address, "-redis", redis.address)
	if err != nil {
		return err
	}
	b.children = append(b.children, server)
	if err := server.await(ctx, ready("http://"+address+"/metrics")); err != nil {
		return err
	}
	b.contestants = append(b.contestants, &contestant{name: "naive", connections: b.options.Connections, perRequest: 1, server: server, redis: redis.child,
		target: target{address: address, path: "/v1/score", body: b.workload.transaction, judge: judgeNaive}})
	return nil
}

func (b *bench) fillNaive(ctx context.Context, client *redis.Client) error {
	keys := make(map[string]bool)
	for card := range b.options.Cards {
		for _, key := range naiveKeys(cardName(card), deviceName(card), merchantName(card%b.options.Merchants)) {
			keys[key] = true
		}
	}
	pipe := client.Pipeline()
	for key := range keys {
		pipe.Set(ctx, key, naiveValue, 0)
		if pipe.Len() == 1000 {
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}

// judgeNaive counts an answer of the naive handler, which has no log that could say committed.
func judgeNaive(status int, body []byte) tally {
	if status == http.StatusOK && bytes.Contains(body, []byte(`"outcome":"`)) {
		return tally{requests: 1, committed: 1}
	}
	return tally{requests: 1, refused: 1}
}
