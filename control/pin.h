#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "shm/layout.h"

/*
 * pin: public keys that a pod may have, as operators and curl write them: "sha256//BASE64", the SHA-256 of the
 * certificate's SubjectPublicKeyInfo, and ';' between two.
 *
 * Pure.
 */
#define PIN_PATTERN "^(sha256//[0-9A-Za-z+/]{43}=(;sha256//[0-9A-Za-z+/]{43}=)?)?$"

/* How many there are; -1: the text is none such. */
int pin_parse(struct bytes text, uint8_t pins[SHM_POD_PINS_MAX][32]);
