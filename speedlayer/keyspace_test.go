package speedlayer_test

import (
	"strings"
	"testing"
	"time"

	"scoremesh/feature"
	"scoremesh/speedlayer"
	"scoremesh/speedlayer/redistest"
)

func TestKeysAreThoseOfTheDesign(t *testing.T) {
	s, _ := open(t, unhurried("redis://127.0.0.1:1"))
	h := in(t, s, speedlayer.Keyspace{Schema: "v3", Epoch: 0x1a2b, Partitions: 64, Retention: time.Hour})
	entity, watermark, open := h.KeysOf(feature.Merchant, 63)
	for _, c := range [][2]string{{entity, "fs:v3:1a2b:{merchant.63}:"}, {watermark, "fw:v3:1a2b:{merchant.63}"}, {open, "fo:v3:1a2b:{merchant.63}"}} {
		if c[0] != c[1] {
			t.Errorf("got %s, want %s", c[0], c[1])
		}
	}
}

func TestKeyspaceNamesWhatIsOutOfBounds(t *testing.T) {
	good := speedlayer.Keyspace{Schema: "v3", Epoch: 1, Partitions: 64, Retention: time.Hour}
	for _, c := range []struct {
		field string
		edit  func(*speedlayer.Keyspace)
	}{
		{"", func(*speedlayer.Keyspace) {}},
		{"schema", func(k *speedlayer.Keyspace) { k.Schema = "" }},
		{"schema", func(k *speedlayer.Keyspace) { k.Schema = "v{3}" }},
		{"schema", func(k *speedlayer.Keyspace) { k.Schema = "v*" }},
		{"schema", func(k *speedlayer.Keyspace) { k.Schema = strings.Repeat("v", 65) }},
		{"epoch", func(k *speedlayer.Keyspace) { k.Epoch = 0 }},
		{"partitions", func(k *speedlayer.Keyspace) { k.Partitions = 0 }},
		{"retention", func(k *speedlayer.Keyspace) { k.Retention = 0 }},
	} {
		k := good
		c.edit(&k)
		err := k.Validate()
		if c.field == "" && err != nil || c.field != "" && (err == nil || !strings.HasPrefix(err.Error(), c.field)) {
			t.Errorf("%+v: got %v, want %q named", k, err, c.field)
		}
	}
}

func TestSlotsAreThoseOfRedis(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	for _, tag := range []string{"card.0", "device.17", "merchant.63", "123456789", "\x00\xff"} {
		if got, want := int64(speedlayer.SlotOf(tag)), server.Do("CLUSTER", "KEYSLOT", tag); got != want {
			t.Errorf("%q: got slot %d, want %d", tag, got, want)
		}
	}
}

func TestTimeToLiveIsNeverBelowTheRetention(t *testing.T) {
	low, high := time.Duration(1<<62), time.Duration(0)
	for range 10_000 {
		ttl := speedlayer.Jitter(9 * time.Hour)
		low, high = min(low, ttl), max(high, ttl)
	}
	if low < 9*time.Hour || low > 9*time.Hour+time.Minute || high > 11*time.Hour+time.Second || high < 11*time.Hour-time.Minute {
		t.Errorf("got %v to %v, want 9h to 11h", low, high)
	}
}
