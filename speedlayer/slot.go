package speedlayer

// slots is the number of hash slots of a Redis Cluster.
const slots = 1 << 14

// slotOf returns the Cluster slot of a hash tag: CRC16-CCITT (XMODEM) modulo 16384, as the Redis Cluster specification has it.
func slotOf(tag string) uint16 {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % slots
}
