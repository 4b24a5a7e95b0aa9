/* core.sha256: what tells circuits apart in a journal, from the library that gRPC brings along.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sha256.h"

#include <lauxlib.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>

#include "misuse.h"

/* OpenSSL 3 would look for the algorithm at each call, which takes longer than a short text. */
static const EVP_MD *algorithm;

static void find_algorithm(void) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
  algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
#endif
  if (!algorithm) algorithm = EVP_sha256();
}

/* sha256(text): 64 hexadecimal digits. */
static int sha256(lua_State *L) {
  size_t size;
  const unsigned char *text = (const unsigned char *)luaL_checklstring(L, 1, &size);
  unsigned char hash[SHA256_DIGEST_LENGTH];
  char digits[2 * SHA256_DIGEST_LENGTH];
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, find_algorithm);
  if (!EVP_Digest(text, size, hash, NULL, algorithm, NULL)) return larvak_no_memory(L);
  for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) {
    digits[2 * i] = "0123456789abcdef"[hash[i] >> 4];
    digits[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
  }
  lua_pushlstring(L, digits, sizeof digits);
  return 1;
}

void larvak_sha256_open(lua_State *L) {
  lua_pushcfunction(L, sha256);
  lua_setfield(L, -2, "sha256");
}
