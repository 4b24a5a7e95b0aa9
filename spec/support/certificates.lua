-- Certificates for tests, made with openssl in a directory of their own, once for each process.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local script = [[
set -e; cd "$1"
ca() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -keyout "$1.key" -out "$1.pem" -subj "/CN=$1"
}
# request NAME NAMES-IT-IS-FOR
request() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
  echo "subjectAltName=$2" > "$1.ext"
}
# leaf NAME CA NAMES-IT-IS-FOR
leaf() {
  request "$1" "$3"
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -out "$1.pem" -days 30 -extfile "$1.ext"
}
# expired NAME CA NAMES-IT-IS-FOR. `openssl x509` refuses an end before the start since 3.5 and took no dates until 3.4.
expired() {
  request "$1" "$3"
  printf '[ca]\nnew_certs_dir=.\ndatabase=index\nserial=serial\ndefault_md=sha256\npolicy=names\n' > ca.cnf
  printf '[names]\ncommonName=supplied\n' >> ca.cnf
  : > index; echo 01 > serial
  openssl ca -batch -notext -config ca.cnf -name ca -cert "$2.pem" -keyfile "$2.key" -in "$1.csr" -out "$1.pem" \
    -extfile "$1.ext" -startdate 20200101000000Z -enddate 20200201000000Z
}
ca ca
ca other_ca
leaf server ca DNS:localhost,IP:127.0.0.1
leaf elsewhere ca DNS:elsewhere.test
expired expired ca DNS:localhost,IP:127.0.0.1
leaf client ca DNS:client.test
leaf stranger other_ca DNS:client.test
]]

local directory

local function make()
  directory = os.tmpname()
  os.remove(directory)
  assert(os.execute(("mkdir -m 700 '%s'"):format(directory)))
  local path = directory .. "/make.sh"
  local file = assert(io.open(path, "w"))
  file:write(script)
  file:close()
  assert(os.execute(("sh '%s' '%s' >'%s/log' 2>&1"):format(path, directory, directory)),
    "openssl cannot make the certificates")
end

-- The path of a certificate ("ca", "server", …), or with kind "key" of its key.
function M.path(name, kind)
  if not directory then make() end
  return ("%s/%s.%s"):format(directory, name, kind or "pem")
end

-- The same as PEM text.
function M.text(name, kind)
  local file = assert(io.open(M.path(name, kind)))
  local text = file:read("a")
  file:close()
  return text
end

function M.remove()
  if directory then os.execute(("rm -rf '%s'"):format(directory)) end
  directory = nil
end

return M
