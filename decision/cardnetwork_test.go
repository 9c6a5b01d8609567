package decision

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCardNumbersOfTheNetworksAreRecognised(t *testing.T) {
	// Test numbers as the networks and processors publish them.
	got := map[string]bool{}
	want := map[string]bool{"4111111111111111": true, "4222222222222": true, "5500000000000004": true, "2223003122003222": true,
		"340000000000009": true, "6011000000000004": true, "3530111333300000": true, "30000000000004": true, "6200000000000005": true,
		"6759649826438453": true, "4111 1111 1111 1111": true, "4111-1111-1111-1111": true,
		"4111111111111112": false, "411111111111": false, "1795428902120": false, "700000000000003": false, "t-4111111111111111": false, "": false}
	for number := range want {
		got[number] = IsCardNumber(number)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
